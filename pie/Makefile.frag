# cargo knows what is out of date; asked each time. CARGO_TARGET_DIR of the environment is where it builds.
write_buffer_target = $${CARGO_TARGET_DIR:-$(top_srcdir)/../target}

.PHONY: write-buffer-cargo
write-buffer-cargo:
	cd $(top_srcdir)/.. && PHP=$(WRITE_BUFFER_PHP) PHP_CONFIG=$(PHP_CONFIG) CARGO_TARGET_DIR="$(write_buffer_target)" $(CARGO) build --release --locked

$(phplibdir)/write_buffer.so: write-buffer-cargo
	@mkdir -p $(phplibdir)
	cp "$(write_buffer_target)/release/libwrite_buffer.so" $@
