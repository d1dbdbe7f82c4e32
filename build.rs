//! Link options of the release binary.

#![expect(clippy::disallowed_methods, reason = "cargo says in the environment what it builds")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=.unwind.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    // The linker that comes with the toolchain on this target folds functions that compile to the
    // same bytes; decoders and drop glue of many types do. Other linkers do not know the option.
    if is("PROFILE", "release")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
    {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        // At a fixed address: places in the program need no correction at the start, so that
        // the file is 163 KB smaller and the parent of each task has 0.12 MB less of its own.
        // Libraries, heap and stack lie at random addresses all the same.
        println!("cargo:rustc-link-arg-bins=-no-pie");
        // A panic aborts: tables for unwinding would be an eighth of the program and never read.
        // Cargo links in the directory of the package.
        println!("cargo:rustc-link-arg-bins=-Wl,-T,.unwind.ld");
    }
}
