Data_Dir = "/d"
SERVER {
  Enabled = true
}
Log_Level = "warn"
