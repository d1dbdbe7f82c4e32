job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      kill_timeout = "20s"
      kill_signal  = "SIGINT"
      leader       = true
      user         = "nobody"
    }
  }
}
