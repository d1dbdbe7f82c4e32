job "j" {
  region = ["a"][3]
}
