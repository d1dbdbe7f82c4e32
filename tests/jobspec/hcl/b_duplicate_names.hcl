job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
    }
    task "t" {
      driver = "raw_exec"
    }
  }
  group "h" {
    task "t" {
      driver = "raw_exec"
    }
  }
  group "g" {
    task "t" {
      driver = "raw_exec"
    }
  }
}
