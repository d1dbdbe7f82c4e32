job "j" {
  region = "x
}
