variable "n" {
  type = number
  default = "none"
}
variable "m" {
  default = 3
  validation {
    condition = var.m > 5
    error_message = "m is too small."
  }
}
variable "m" {
}
job "x" {
  priority = var.q
  region = local.nope
}
locals {
  a = local.b
  b = local.a
}
