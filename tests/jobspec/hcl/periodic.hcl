job "nightly" {
  type = "batch"
  periodic {
    crons            = ["0 3 * * *", "@weekly"]
    time_zone        = "Europe/Berlin"
    prohibit_overlap = true
  }
  vault {
    policies = ["p"]
  }
  task "alone" {
    driver = "raw_exec"
    config = { command = "/bin/true" }
  }
  group "later" {
    task "x" {
      driver = "mock_driver"
    }
  }
}
