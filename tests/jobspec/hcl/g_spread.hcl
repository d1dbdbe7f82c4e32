job "j" {
  group "g" {
    spread {
      attribute = "${node.datacenter}"
      weight    = 80
      target "dc1" {
        percent = 70
      }
      target "dc2" {
        percent = 30
      }
    }
  }
}
