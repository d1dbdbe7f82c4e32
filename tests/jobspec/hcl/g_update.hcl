job "j" {
  group "g" {
    update {
      max_parallel      = 2
      canary            = 1
      auto_revert       = true
      auto_promote      = true
      min_healthy_time  = "5s"
      healthy_deadline  = "2m"
      progress_deadline = "10m"
      stagger           = "30s"
      health_check      = "task_states"
    }
  }
}
