job "j" {
  priority = true ? 60 : 10
  meta {
    x = "a-${1 + 2}-${join(",", ["p", "q"])}"
  }
  group "g" {}
}
