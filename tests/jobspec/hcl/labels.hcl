job "x" {
  group "g" {
    task "t" {
      action "a" {
        args = ["x"]
      }
      resources {
        cpu = 1
      }
      resources {
        cpu = 2
      }
    }
    volume {
    }
    restart "no" {
    }
  }
}
