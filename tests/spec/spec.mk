# Specs that set the wall clock put the crash tests' shim before it.
spec: $(BUILD)/crash/shim.so
