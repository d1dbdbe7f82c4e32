job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
    }
  }
}
