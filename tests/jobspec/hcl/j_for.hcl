job "j" {
  meta = { for k in ["a", "b"] : k => upper(k) }
  group "g" {}
}
