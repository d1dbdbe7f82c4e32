job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      resources {
        cpu        = 200
        memory     = 128
        memory_max = 256
      }
    }
  }
}
