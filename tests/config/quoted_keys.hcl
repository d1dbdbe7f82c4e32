"data_dir" = "/d"
"server" { "enabled" = "true" }
"ports" = { "http" = "5" }
