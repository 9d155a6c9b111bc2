#!/bin/sh
# Certificates for the sessions of agents with their brokers: one authority, one certificate for each
# broker and two for each agent, AGENT and AGENT:t, since brokers bind a session to its certificate.
#
#   certs.sh DIR broker HOST...     DIR/HOST.pem and .key, and the authority in DIR/ca.pem, if they are not there
#   certs.sh DIR client NAME...     DIR/NAME.pem and .key, and DIR/NAME-t.pem and -t.key
#   seq -f 'b3-rack%g' 100 | xargs certs.sh DIR client
#
# What is there already is left as it is, so the script may be run again with more names. DIR/ca.key signs
# whatever it is asked to: keep it off the brokers and the agents, and DIR on a machine of its own.
# ALSO is further names that each broker has, such as the one name of all hubs of a cluster: ALSO="hub.b1.example".
# DAYS (825) is how long a certificate holds, CA_DAYS (3650) the authority.
set -eu
umask 077

usage() {
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" >&2
	exit 2
}

[ $# -ge 3 ] || usage
dir=$1 kind=$2
shift 2
mkdir -p "$dir"

authority() {
	[ ! -e "$dir/ca.key" ] || return 0
	openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key.new"
	openssl req -x509 -new -sha256 -key "$dir/ca.key.new" -subj "/CN=firebreak authority" -days "${CA_DAYS:-3650}" \
		-addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$dir/ca.pem"
	mv "$dir/ca.key.new" "$dir/ca.key"
}

# issue FILE COMMON-NAME EXTENSION...
issue() {
	file=$dir/$1 name=$2
	shift 2
	[ ! -e "$file.pem" ] || return 0
	openssl req -new -sha256 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$file.key" -subj "/CN=$name" -out "$file.csr" 2>/dev/null
	printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$@" >"$file.ext"
	openssl x509 -req -sha256 -in "$file.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -set_serial "0x$(od -An -N15 -tx1 /dev/urandom | tr -d " \n")" \
		-days "${DAYS:-825}" -extfile "$file.ext" -out "$file.pem.new" 2>/dev/null
	mv "$file.pem.new" "$file.pem"
	rm "$file.csr" "$file.ext"
}

authority
for n in "$@"; do
	case $n in
	*[!A-Za-z0-9._-]* | [.-]*)
		echo "certs.sh: $n is no name: use letters, digits, ., - and _" >&2
		exit 1
		;;
	esac
	case $kind in
	broker)
		case $n in
		*[!0-9.]*) san=DNS:$n ;;
		*) san=IP:$n ;;
		esac
		for also in ${ALSO:-}; do
			san=$san,DNS:$also
		done
		issue "$n" "$n" "extendedKeyUsage=serverAuth,clientAuth" "subjectAltName=$san"
		;;
	client)
		issue "$n" "$n" "extendedKeyUsage=clientAuth"
		issue "$n-t" "$n:t" "extendedKeyUsage=clientAuth"
		;;
	*) usage ;;
	esac
done
