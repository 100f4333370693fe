# cargo knows what is out of date; asked each time. CARGO_TARGET_DIR of the environment is where it builds.
write_buffer_target = $${CARGO_TARGET_DIR:-$(top_srcdir)/../target}
# But not to install what `make` has built: PIE does that by sudo where it has to, and root may
# have no Rust, nor leave files of its own behind.
write_buffer_built = $(and $(filter install install-modules,$(MAKECMDGOALS)),$(wildcard $(phplibdir)/write_buffer.so))

.PHONY: write-buffer-cargo
write-buffer-cargo:
	cd $(top_srcdir)/.. && PHP=$(WRITE_BUFFER_PHP) PHP_CONFIG=$(PHP_CONFIG) CARGO_TARGET_DIR="$(write_buffer_target)" $(CARGO) build --release --locked

$(phplibdir)/write_buffer.so: $(if $(write_buffer_built),,write-buffer-cargo)
	@mkdir -p $(phplibdir)
	cp "$(write_buffer_target)/release/libwrite_buffer.so" $@
