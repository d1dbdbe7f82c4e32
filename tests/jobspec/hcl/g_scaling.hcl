job "j" {
  group "g" {
    count = 2
    scaling {
      enabled = true
      min     = 1
      max     = 5
      policy {
        cooldown = "1m"
      }
    }
  }
}
