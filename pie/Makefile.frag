# cargo knows what is out of date; asked each time.
.PHONY: write-buffer-cargo
write-buffer-cargo:
	cd $(top_srcdir)/.. && PHP=$(WRITE_BUFFER_PHP) PHP_CONFIG=$(PHP_CONFIG) CARGO_TARGET_DIR=target $(CARGO) build --release

$(phplibdir)/write_buffer.so: write-buffer-cargo
	@mkdir -p $(phplibdir)
	cp $(top_srcdir)/../target/release/libwrite_buffer.so $@
