job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/x"
        args    = ["-a", 5, true]
        opts {
          a = [{ b = 1 }]
        }
      }
    }
  }
}
