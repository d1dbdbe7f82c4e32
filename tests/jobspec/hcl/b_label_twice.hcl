job "j" {
  group "g" {
    task "t" "u" {
      driver = "raw_exec"
    }
  }
}
