job "j" {
  group "g" {
    netwrok {
      mode = "host"
    }
  }
}
