job "j" {
  group "g" {
    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }
    constraint {
      attribute = "${attr.cpu.arch}"
      operator  = "regexp"
      value     = "arm.*"
    }
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }
  }
}
