job "j" {
  type = "batch"
  periodic {
    crons            = ["0 * * * *", "30 2 * * *"]
    prohibit_overlap = true
    time_zone        = "Europe/Berlin"
    enabled          = false
  }
  group "g" {}
}
