job "j" {
  group "g" {
    task = "x"
  }
}
