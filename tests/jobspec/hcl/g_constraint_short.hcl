job "j" {
  group "g" {
    constraint {
      distinct_hosts = true
    }
    constraint {
      attribute = "${attr.os.version}"
      version   = ">= 3"
    }
  }
}
