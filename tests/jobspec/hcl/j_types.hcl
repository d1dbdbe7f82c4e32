job "j" {
  type        = "system"
  priority    = 70
  region      = "eu"
  namespace   = "n"
  node_pool   = "p"
  datacenters = ["a", "b*"]
  all_at_once = true
  group "g" {}
}
