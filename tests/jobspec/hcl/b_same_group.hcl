job "j" {
  group "g" {}
  group "g" {}
}
