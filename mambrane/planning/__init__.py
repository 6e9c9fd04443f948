"""What a run would take, before anything is trained: tasks, steps, memory, time, and the work of a GPU."""
