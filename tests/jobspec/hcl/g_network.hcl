job "j" {
  group "g" {
    network {
      mode = "host"
      port "http" {
        static = 8080
      }
      port "admin" {
        to           = 9000
        host_network = "private"
      }
      dns {
        servers = ["1.1.1.1"]
      }
    }
  }
}
