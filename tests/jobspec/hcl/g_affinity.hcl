job "j" {
  group "g" {
    affinity {
      attribute = "${meta.rack}"
      value     = "r1"
      weight    = -50
    }
  }
}
