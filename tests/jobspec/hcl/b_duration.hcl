job "j" {
  group "g" {
    restart {
      delay = "soon"
    }
  }
}
