#!/bin/bash
# cluster.sh: a real Kubernetes of two nodes on this machine, to try a Deployment in. It lives in namespaces of its own
# (network, mounts, processes) and in memory: the machine gets no bridge, no iptables rule and no mount.
#
#   cluster.sh up DIR                     returns when both nodes are ready. DIR gets its logs and a kubeconfig. Once
#                                         more is the same, and waits where half of it runs; interrupted, it leaves
#                                         nothing
#   cluster.sh down DIR                   returns when nothing is left
#   cluster.sh run DIR                    the same in the foreground: until its input ends, or INT or TERM
#   cluster.sh in DIR WHERE COMMAND...    run COMMAND on "control", "node1" or "node2"
#   cluster.sh image DIR NAME BINARY      put an image on both nodes: from scratch, with /run and BINARY (a static
#                                         one) as /app
#
# It says "ready" when both nodes are. Exit code 77: this machine can't do it, and a line says why. Needs root; of
# Kubernetes 1.31 what .ci/get-kubernetes builds; Debian's etcd-server, containerd, runc, containernetworking-plugins,
# iptables, conntrack, iproute2, openssl, util-linux.
set -eu
self=$(readlink -f "$0")
nodes="node1 node2"
user=77077
net=10.77 # the control plane is .0.1, node1 .0.11 and its pods .1.0/24, node2 .0.12 and its pods .2.0/24

die() { echo "cluster.sh: $*" >&2; exit 1; }
cannot() { echo "cluster.sh: no cluster here: $*" >&2; exit 77; }

# hold has the folder for one cluster. The kernel lets it go with this process, whatever ends that.
hold() { exec 9<"$dir" && flock -n 9; }
held() { ! (hold); }

run() {
	local tool left pause outer ended=0
	[ -n "${HELD-}" ] || hold || die "up already: $dir"
	echo $$ >"$dir/run.pid"
	[ "$(id -u)" = 0 ] || cannot "needs root"
	for tool in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
		command -v $tool >/dev/null || cannot "no $tool: .ci/get-kubernetes DIR, and DIR in PATH"
	done
	for tool in etcd containerd ctr runc iptables conntrack ip openssl nsenter setpriv go /usr/lib/cni/bridge; do
		command -v $tool >/dev/null ||
			cannot "no $tool: apt-get install etcd-server containerd runc containernetworking-plugins" \
			"iptables conntrack iproute2 openssl util-linux"
	done
	rm -f "$dir/ready" "$dir/answers"
	pause=$(mktemp -d)
	cat >"$pause/main.go" <<-END
		package main // holds a pod's namespaces

		import (
			"os"
			"os/signal"
			"syscall"
		)

		func main() {
			told := make(chan os.Signal, 1)
			signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
			<-told
		}
	END
	(cd "$pause" && CGO_ENABLED=0 go build -o pause main.go)
	pack baton.test/pause:1 "$pause/pause" "$dir/pause.tar"
	rm -rf "$pause"
	trap ended=1 INT TERM
	# Whatever ends this process ends all others.
	setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc --mount --net "$self" __control "$dir" $$ \
		</dev/null >"$dir/control.log" 2>&1 9<&- &
	outer=$!
	until tr -d ' ' <"/proc/$outer/task/$outer/children" >"$dir/first" && [ -s "$dir/first" ]; do
		kill -0 $outer 2>/dev/null || break
		sleep 0.01
	done
	until [ -e "$dir/ready" ] || [ $ended = 1 ]; do
		kill -0 $outer 2>/dev/null || break
		read -r -t 0.1 || [ $? -gt 128 ] || ended=1
	done
	if [ -e "$dir/ready" ] && [ $ended = 0 ]; then
		echo ready
		while [ $ended = 0 ] && kill -0 $outer 2>/dev/null; do
			read -r -t 0.2 || [ $? -gt 128 ] || ended=1
		done
	fi
	kill -9 $outer 2>/dev/null || true
	wait $outer 2>/dev/null || true
	rm -f "$dir/first" "$dir/ready" "$dir/run.pid"
	# The kernel knows no namespace that would take its control groups with it.
	for _ in $(seq 100); do
		left=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "baton-k8s.$$")
		[ -n "$left" ] || break
		# shellcheck disable=SC2086
		find $left -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
	done
	[ $ended = 1 ] || { tail -n 5 "$dir"/*.log >&2; cannot "it has ended by itself; its logs are in $dir"; }
}

# up has run go on in the background, with an input that never ends.
up() {
	local code=1
	if hold; then
		rm -f "$dir/ready" "$dir/run.pid" "$dir/input"
		mkfifo -m 600 "$dir/input"
		trap 'kill $! || true; wait $! || true; die "interrupted: nothing is left"' HUP INT TERM
		HELD=yes setsid "$self" run "$dir" <>"$dir/input" >"$dir/said" 2>&1 &
	fi
	exec 9<&-
	until [ -e "$dir/ready" ]; do
		held || { wait ${!-} || code=$?; cat "$dir/said" >&2; exit $code; }
		sleep 0.1
	done
}

down() {
	local pid
	held || die "not up: $dir"
	until pid=$(cat "$dir/run.pid" 2>/dev/null); do sleep 0.1; done # it has only just begun
	kill -TERM "$pid" || die "not allowed to end pid $pid"
	while held; do sleep 0.1; done
}

# control is the first process: the control plane, and the wire between the nodes.
control() {
	local n i server=https://$net.0.1:6443
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 cluster /run
	mkdir -p /run/netns /run/k8s
	ip link set lo up
	ip link add lan type bridge
	ip addr add $net.0.1/24 dev lan
	ip link set lan up
	echo 1 >/proc/sys/net/ipv4/ip_forward
	for n in $nodes; do
		i=${n#node}
		ip netns add "$n"
		ip link add "$n" type veth peer name eth0 netns "$n"
		ip link set "$n" master lan up
		ip -n "$n" link set lo up
		ip -n "$n" addr add "$net.0.1$i/24" dev eth0
		ip -n "$n" link set eth0 up
		ip -n "$n" route add default via $net.0.1
		ip -n "$n" route add "$net.$((3 - i)).0/24" via "$net.0.1$((3 - i))" # the other's pods
		ip route add "$net.$i.0/24" via "$net.0.1$i"
	done

	openssl genrsa -out /run/k8s/key 2048 2>/dev/null
	echo 'secret,admin,admin,system:masters' >/run/k8s/tokens
	cat >"$dir/kubeconfig" <<-END
		apiVersion: v1
		kind: Config
		clusters: [{name: here, cluster: {server: "$server", insecure-skip-tls-verify: true}}]
		users: [{name: admin, user: {token: secret}}]
		contexts: [{name: here, context: {cluster: here, user: admin}}]
		current-context: here
	END
	export KUBECONFIG=$dir/kubeconfig
	daemon etcd --data-dir /run/k8s/etcd --listen-client-urls http://127.0.0.1:2379 \
		--advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
	daemon kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address=$net.0.1 --cert-dir=/run/k8s/certs \
		--token-auth-file=/run/k8s/tokens --authorization-mode=RBAC \
		--service-account-issuer=https://kubernetes.default.svc --service-account-key-file=/run/k8s/key \
		--service-account-signing-key-file=/run/k8s/key --service-cluster-ip-range=10.78.0.0/16 \
		--allow-privileged --kubelet-preferred-address-types=InternalIP
	daemon kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
	for n in $nodes; do
		nsenter --net="/run/netns/$n" unshare --mount "$self" __node "$dir" "$supervisor" "$n" \
			</dev/null >"$dir/$n.log" 2>&1 &
		echo $! >"$dir/$n.pid"
	done
	until kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.1; done
	touch "$dir/answers"
	daemon kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
		--root-ca-file=/run/k8s/certs/apiserver.crt --controllers=serviceaccount-controller,$(
	)root-ca-certificate-publisher-controller,deployment-controller,$(
	)replicaset-controller,endpoints-controller,endpointslice-controller,disruption-controller,node-lifecycle-controller,$(
	)garbage-collector-controller,pod-garbage-collector-controller,namespace-controller
	for n in $nodes; do
		until kubectl wait --for=condition=Ready "node/$n" --timeout=60s >/dev/null 2>&1; do sleep 0.1; done
	done
	for n in serviceaccount/default configmap/kube-root-ca.crt; do # which pods have
		until kubectl get "$n" >/dev/null 2>&1; do sleep 0.1; done
	done
	touch "$dir/ready"
	wait
}

# node is a machine of its own, but for the kernel and for files that it only reads.
node() {
	local name=$1 i=${1#node} at
	mount --make-rprivate /
	for at in /run /srv /var/lib /var/log; do mount -t tmpfs -o mode=755 cluster $at; done
	for at in vm/overcommit_memory:1 kernel/panic:10 kernel/panic_on_oops:1 kernel/keys/root_maxkeys:1000000 \
		kernel/keys/root_maxbytes:25000000; do # what the kubelet would set for the whole machine, it sees as set
		mkdir -p "/run/sysctl/${at%/*}"
		echo "${at#*:}" >"/run/sysctl/${at%:*}"
		mount --bind "/run/sysctl/${at%:*}" "/proc/sys/${at%:*}"
	done
	mount --make-rshared /
	mkdir -p /run/cni /run/kubelet
	echo 1 >/proc/sys/net/ipv4/ip_forward
	cat >/run/cni/10-pods.conflist <<-END
		{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
		"hairpinMode": true, "ipam": {"type": "host-local", "dataDir": "/run/ipam",
		"ranges": [[{"subnet": "$net.$i.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
	cat >/run/containerd.toml <<-END
		version = 2
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "baton.test/pause:1"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		      BinaryName = "/run/bin/runc"
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "/run/cni"
	END
	cat >/run/kubelet/config <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		cgroupDriver: cgroupfs
		cgroupRoot: /baton-k8s.$supervisor/$name
		cgroupsPerQOS: false
		enforceNodeAllocatable: []
		evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%"}
		failSwapOn: false
		localStorageCapacityIsolation: false
	END
	mkdir /run/bin
	for at in runc mount umount; do # which want root
		printf '#!/bin/sh\nexec setpriv --reuid=0 %s "$@"\n' "$(command -v $at)" >/run/bin/$at
		chmod 755 /run/bin/$at
	done
	daemon containerd --config /run/containerd.toml
	until ctr version >/dev/null 2>&1; do sleep 0.1; done
	ctr -n k8s.io images import "$dir/pause.tar"
	until [ -e "$dir/answers" ]; do sleep 0.1; done
	PATH=/run/bin:$PATH daemon kubelet --config=/run/kubelet/config --kubeconfig="$dir/kubeconfig" \
		--hostname-override="$name" --node-ip="$net.0.1$i"
	daemon kube-proxy --kubeconfig="$dir/kubeconfig" --hostname-override="$name" --proxy-mode=iptables \
		--cluster-cidr=$net.0.0/16 --conntrack-max-per-core=0 --conntrack-min=0 \
		--conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
	wait
}

# daemon starts one, with a log and the pid, as the cluster sees it, in DIR. It has a user of its own, with root's
# abilities: the kernel counts inotify instances by user, and allows the whole machine's root 128.
daemon() {
	local log=$dir/${name:+$name-}$1 able
	able=+$(setpriv --dump | sed -n 's/^Capability bounding set: //p' | sed 's/,/,+/g')
	setpriv --reuid=$user --inh-caps="$able" --ambient-caps="$able" "$@" </dev/null >"$log.log" 2>&1 &
	echo $! >"$log.pid"
}

# enter runs a command somewhere in the cluster.
enter() {
	local where=$1 first
	shift
	held || die "not up: $dir"
	first=$(tr -d ' ' <"$dir/first") || die "not up yet: $dir"
	set -- env -C "$PWD" KUBECONFIG="$dir/kubeconfig" "$@"
	[ "$where" = control ] || set -- nsenter -t "$(cat "$dir/$where.pid")" -m -n -- "$@"
	exec nsenter -t "$first" -m -n -p -- "$@"
}

# pack makes a file of an image from scratch.
pack() {
	local name=$1 binary=$2 file=$3 tmp layer
	tmp=$(mktemp -d)
	mkdir -p "$tmp/root/run"
	cp "$binary" "$tmp/root/app"
	chmod 755 "$tmp/root/run" "$tmp/root/app"
	tar -C "$tmp/root" -cf "$tmp/layer.tar" --owner=0 --group=0 app run
	layer=$(sha256sum <"$tmp/layer.tar" | cut -d' ' -f1)
	cat >"$tmp/config.json" <<-END
		{"architecture": "$(GOFLAGS='' go env GOARCH)", "os": "linux", "config": {"Entrypoint": ["/app"]},
		"rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
	END
	echo '[{"Config": "config.json", "RepoTags": ["'"$name"'"], "Layers": ["layer.tar"]}]' >"$tmp/manifest.json"
	tar -C "$tmp" -cf "$file" layer.tar config.json manifest.json
	rm -rf "$tmp"
}

image() {
	local n
	file=$dir/image.$$.tar
	trap 'rm -f "$file"' EXIT
	pack "$1" "$2" "$file"
	for n in $nodes; do "$self" in "$dir" "$n" ctr -n k8s.io images import "$file" >/dev/null; done
}

verb=${1:-} dir=${2:-} name=
case $verb in up | run) mkdir -p "${dir:?}" ;; esac
[ -z "$dir" ] || { shift 2; at=$(cd "$dir" 2>/dev/null && pwd) || die "not up: $dir"; dir=$at; }
case $verb in
up | down | run) $verb ;;
__control) supervisor=$1 && control ;;
__node) supervisor=$1 && node "$2" ;;
in) enter "$@" ;;
image) image "$@" ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$self"; exit 2 ;;
esac
