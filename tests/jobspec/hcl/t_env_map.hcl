job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      env = {
        "A.B" = 5
        C     = true
      }
    }
  }
}
