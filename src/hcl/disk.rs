//! The machine as the functions see it that read files or draw chance.

/// What the functions need that look at the machine. Errors are sentences.
pub trait Disk {
    /// The content of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
    /// Names in a folder, and whether each is one itself.
    fn list(&self, path: &str) -> Result<Vec<(String, bool)>, String>;
    /// A path from the root.
    fn absolute(&self, path: &str) -> String;
    /// The user's own folder.
    fn home(&self) -> String;
    fn chance(&self) -> [u8; 16];
}

/// `None` where texts come from strangers.
pub type Files<'a> = Option<&'a dyn Disk>;
