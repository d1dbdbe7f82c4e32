job "j" {
  ui {
    description = "A job"
    link {
      label = "docs"
      url   = "https://example.com"
    }
  }
  group "g" {}
}
