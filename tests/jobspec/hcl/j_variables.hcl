variable "dcs" {
  type    = list(string)
  default = ["a", "b"]
}
locals {
  p = 40 + 5
}
job "j" {
  datacenters = var.dcs
  priority    = local.p
  group "g" {
    count = length(var.dcs) + 1
  }
}
