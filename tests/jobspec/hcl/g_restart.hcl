job "j" {
  group "g" {
    restart {
      attempts = 3
      delay    = "15s"
      interval = "10m"
      mode     = "delay"
    }
  }
}
