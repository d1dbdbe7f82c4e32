job "j" {
  group "g" {
    meta {
      owner = "me"
      rank  = 3
    }
    shutdown_delay = "10s"
  }
}
