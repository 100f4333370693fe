/*
 * Runs a PHP script in threads of one process, each request behind the other, as servers with
 * thread-safe PHP do: threads STARTS THREADS REQUESTS PHP.INI SCRIPT [ARGUMENT...]
 * The script finds in $argv its own name, the thread's number, the request's, and the arguments.
 * PHP is started and ended STARTS times, each time with new threads. The process leaves with 0
 * only if every request did.
 */
#include <pthread.h>
#include <sapi/embed/php_embed.h>

static char *script;
static int requests, rest_count;
static char **rest;
static int failures;

static void request(int thread, int number)
{
	char names[2][16];
	char **arguments = calloc(rest_count + 4, sizeof(char *));
	zend_file_handle file;

	snprintf(names[0], sizeof names[0], "%d", thread);
	snprintf(names[1], sizeof names[1], "%d", number);
	arguments[0] = script;
	arguments[1] = names[0];
	arguments[2] = names[1];
	memcpy(arguments + 3, rest, rest_count * sizeof(char *));
	SG(request_info).argc = rest_count + 3;
	SG(request_info).argv = arguments;
	if (php_request_startup() == FAILURE) {
		fprintf(stderr, "threads: a request does not start\n");
		exit(70);
	}
	SG(headers_sent) = 1;
	SG(request_info).no_headers = 1;
	zend_first_try {
		zend_stream_init_filename(&file, script);
		php_execute_script(&file);
		zend_destroy_file_handle(&file);
	} zend_catch {
	} zend_end_try();
	if (EG(exit_status) != 0) {
		__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
	}
	php_request_shutdown(NULL);
	free(arguments);
}

static void *run(void *number)
{
	ts_resource(0);
	for (int at = 0; at < requests; at++) {
		request((int) (intptr_t) number, at);
	}
	ts_free_thread();
	return NULL;
}

static int start(int count, char **argv, char *ini)
{
	pthread_t *threads = calloc(count, sizeof(pthread_t));

	php_embed_module.php_ini_path_override = ini;
	if (php_embed_init(1, argv) == FAILURE) {
		return 0;
	}
	for (int at = 0; at < count; at++) {
		pthread_create(&threads[at], NULL, run, (void *) (intptr_t) at);
	}
	for (int at = 0; at < count; at++) {
		pthread_join(threads[at], NULL);
	}
	php_embed_shutdown();
	free(threads);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr, "threads STARTS THREADS REQUESTS PHP.INI SCRIPT [ARGUMENT...]\n");
		return 64;
	}
	requests = atoi(argv[3]);
	script = argv[5];
	rest = argv + 6;
	rest_count = argc - 6;
	for (int at = 0; at < atoi(argv[1]); at++) {
		if (!start(atoi(argv[2]), argv, argv[4])) {
			fprintf(stderr, "threads: PHP does not start\n");
			return 70;
		}
	}
	return failures ? 1 : 0;
}
