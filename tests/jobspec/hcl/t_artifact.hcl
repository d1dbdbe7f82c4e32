job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      artifact {
        source      = "https://example.com/a.tgz"
        destination = "local/a"
        mode        = "dir"
        options {
          checksum = "md5:abc"
        }
      }
    }
  }
}
