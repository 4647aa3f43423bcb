# Runs one PostgreSQL server in DIR, and ends it and removes DIR when standard input ends.
#
#   sh -c "$this" guard DIR BINDIR PORT SUPERUSER    (DIR holds the files settings, password, log)
#
# Standard input is a pipe whose other end only the test process holds. The kernel closes it
# however that process ends, so this works after a panic and after kill -9, where nothing in the
# process itself could. If the server ends on its own, DIR stays and DIR/exited has its status.

dir=$1 bin=$2 port=$3 superuser=$4

stop() {
	trap '' TERM
	# $! and not a variable of our own: a signal may arrive just before the assignment.
	if [ "$!" != "$reader" ]; then
		# QUIT is PostgreSQL's immediate shutdown, but a shell's background command starts with
		# QUIT ignored; until PostgreSQL has its handlers it is TERM that ends it.
		kill -TERM "$!" 2>/dev/null
		kill -QUIT "$!" 2>/dev/null
		wait "$!"
	fi
	cd / && rm -rf "$dir"
	exit 0
}

leave() {
	echo "$1" >"$dir/exited"
	kill -KILL "$reader" 2>/dev/null
	exit "$1"
}

# A background command's standard input is /dev/null unless it is said otherwise.
exec 3<&0 </dev/null
reader=
trap stop TERM
(
	while read -r _; do :; done
	kill -TERM $$
) <&3 &
reader=$!
exec 3<&-

# Without --no-sync most of initdb's time goes into flushing files that nobody will want back.
if [ ! -e "$dir/data" ]; then
	"$bin/initdb" --pgdata="$dir/data" --no-sync --encoding=UTF8 --locale=C \
		--username="$superuser" --auth=scram-sha-256 --pwfile="$dir/password" &
	wait $! || leave $?
	cat "$dir/settings" >>"$dir/data/postgresql.conf" || leave $?
fi

# Only TCP: a socket's path in a deep temporary directory can be longer than the system allows.
"$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= &
wait $!
leave $?
