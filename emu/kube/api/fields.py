"""The fields of Kubernetes objects that emu passes over, and how: without effect on packets, or not modelled.

A field of a typed struct that is not listed here is used. Every other field of the Kubernetes API stands here under the
name of its struct; a name that stands in neither is unknown, which most likely means misspelt.
Below a field without effect nothing is looked at. Must not know what the fields are used for.
"""

from __future__ import annotations

from emu.modelled import NotModelled, Treatment, WithoutEffect

ANNOTATIONS = ("emu/app", "emu/exit-code", "emu/ready", "emu/runs", "emu/script", "emu/terminate")
"""The annotations of emu's own."""

IDLE_SYSCTLS = (
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
)
"""The sysctls of a pod's securityContext that have no effect on packets; those outside `net.ipv4` and `net.core` have none either."""

_BOOKKEEPING = "bookkeeping of the API server and its clients"
_REPORTED = "the state that a controller reported, which emu works out itself"
_HISTORY = "old revisions send no packets"
PLACEMENT = "which node a pod is placed on"
_ROLLOUT = NotModelled("a rollout does not wait for it", defaults=(0,))

_PASSED_OVER: dict[str, dict[str, str]] = {
    "ObjectMeta": {"generateName generation managedFields selfLink finalizers clusterName": _BOOKKEEPING},
    "OwnerReference": {"blockOwnerDeletion": _BOOKKEEPING},
    "Condition": {"lastTransitionTime lastProbeTime lastHeartbeatTime lastUpdateTime observedGeneration": _BOOKKEEPING},
    "ObjectReference": {"apiVersion fieldPath resourceVersion": _BOOKKEEPING},
    "Namespace": {"spec": "its finalizers delay a deletion only"},
    "NamespaceStatus": {"conditions": _REPORTED},
    "NodeSpec": {"configSource externalID providerID podPreemptionPolicy": "facts of the machine"},
    "Taint": {"timeAdded": _BOOKKEEPING},
    "NodeStatus": {
        "capacity images volumesInUse volumesAttached daemonEndpoints phase config runtimeHandlers features "
        "declaredFeatures": "facts of the machine"
    },
    "NodeVersions": {
        "machineID systemUUID bootID kubeProxyVersion operatingSystem architecture swap": "facts of the machine"
    },
    "PodSpec": {
        "volumes automountServiceAccountToken serviceAccount imagePullSecrets hostPID hostIPC hostUsers "
        "shareProcessNamespace securityContext enableServiceLinks setHostnameAsFQDN hostnameOverride os runtimeClassName "
        "resourceClaims ephemeralContainers evictionResponders": "it concerns processes and files of the containers",
        "resources overhead": "nodes have room for every pod",
        "priority priorityClassName preemptionPolicy": "no pod has to make room for another",
        "workloadRef schedulingGroup": "nodes have room for every pod",
    },
    "Container": {
        "image workingDir env envFrom volumeMounts volumeDevices lifecycle terminationMessagePath "
        "terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty restartPolicyRules": (
            "it concerns processes and files of the container; the annotation emu/app chooses what answers"
        ),
        "resources resizePolicy": "nodes have room for every pod",
    },
    "Probe": {
        "exec initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold "
        "terminationGracePeriodSeconds": (
            "no probe is sent: a container is healthy, but for the annotation emu/ready or the status that an export has"
        )
    },
    "ProbedPort": {"path scheme httpHeaders service": "no probe is sent: only which port it asks counts"},
    "ContainerStatus": {
        "image imageID containerID started lastState allocatedResources allocatedResourcesStatus resources user "
        "volumeMounts stopSignal": _REPORTED
    },
    "StateRunning": {"startedAt": _BOOKKEEPING},
    "StateTerminated": {"message startedAt finishedAt containerID": _BOOKKEEPING},
    "PodStatus": {
        "ephemeralContainerStatuses qosClass startTime hostIPs "
        "nominatedNodeName observedGeneration resize resourceClaimStatuses extendedResourceClaimStatus "
        "allocatedResources resources nodeAllocatableResourceClaimStatuses volumeHealth": _REPORTED
    },
    "ServiceSpec": {"loadBalancerClass": "no load balancer is made; status.loadBalancer.ingress states what one gave"},
    "ServiceStatus": {"conditions": _REPORTED},
    "LoadBalancerIngress": {"ports": "the errors of a load balancer"},
    "EndpointAddress": {"targetRef": "the mirrored slice needs addresses only"},
    "Endpoint": {"deprecatedTopology": _BOOKKEEPING},
    "DeploymentSpec": {"progressDeadlineSeconds": "a Deployment that misses it goes on all the same"},
    "StatefulSetSpec": {
        "volumeClaimTemplates persistentVolumeClaimRetentionPolicy": "it concerns volumes",
        "revisionHistoryLimit": _HISTORY,
    },
    "DaemonSetSpec": {"revisionHistoryLimit": _HISTORY},
    "WorkloadStatus": {
        "unavailableReplicas observedGeneration conditions collisionCount currentReplicas currentRevision "
        "fullyLabeledReplicas terminatingReplicas": _REPORTED
    },
    "DaemonSetStatus": {"observedGeneration conditions collisionCount numberMisscheduled numberUnavailable": _REPORTED},
    "JobSpec": {
        "selector manualSelector": "a Job finds its pods by their owner",
    },
    "JobStatus": {"ready terminating uncountedTerminatedPods completedIndexes failedIndexes": _REPORTED},
    "CronJob": {"status": _REPORTED},
    "NetworkPolicy": {"status": _REPORTED},
    "ClusterNetworkPolicy": {"status": _REPORTED},
    "AdminNetworkPolicy": {"status": _REPORTED},
    "BaselineAdminNetworkPolicy": {"status": _REPORTED},
}

_NOT_MODELLED: dict[str, dict[str, NotModelled]] = {
    "NodeSpec": {
        "podCIDRs": NotModelled("podCIDR alone is read", same_as="podCIDR"),
    },
    "PodSpec": {
        "hostAliases": NotModelled("the pod's /etc/hosts does not have them"),
        "topologySpreadConstraints": NotModelled(PLACEMENT),
        "schedulerName": NotModelled(PLACEMENT, defaults=("default-scheduler",)),
        "schedulingGates": NotModelled("the pod does not wait for them"),
        "readinessGates": NotModelled("the pod is ready without them"),
        "activeDeadlineSeconds": NotModelled("the pod does not end"),
    },
    "Affinity": {"podAffinity": NotModelled(PLACEMENT), "podAntiAffinity": NotModelled(PLACEMENT)},
    "NodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": NotModelled(PLACEMENT)},
    "ServiceSpec": {
        "trafficDistribution": NotModelled("every endpoint is as likely, near or far"),
        "loadBalancerIP": NotModelled("no load balancer is made; status.loadBalancer.ingress states what one gave"),
    },
    "DeploymentSpec": {"minReadySeconds": _ROLLOUT},
    "ReplicaSetSpec": {"minReadySeconds": _ROLLOUT},
    "ReplicationControllerSpec": {"minReadySeconds": _ROLLOUT},
    "JobSpec": {
        "podFailurePolicy": NotModelled("every failed pod counts alike"),
        "podReplacementPolicy": NotModelled("a terminating pod is replaced at once", defaults=("TerminatingOrFailed",)),
        "backoffLimitPerIndex": NotModelled("all indexes have one backoffLimit"),
        "maxFailedIndexes": NotModelled("all indexes have one backoffLimit"),
        "successPolicy": NotModelled("a Job is complete when all of its completions are"),
        "managedBy": NotModelled("the Job controller acts", defaults=("kubernetes.io/job-controller",)),
    },
    "CronJobSpec": {
        "startingDeadlineSeconds": NotModelled("every Job starts in time"),
    },
    "StatefulSetSpec": {"minReadySeconds": _ROLLOUT},
    "DaemonSetSpec": {"minReadySeconds": _ROLLOUT},
    "RollingUpdateStatefulSet": {"maxUnavailable": NotModelled("one pod at a time is renewed", defaults=(1,))},
    "DaemonSetUpdateStrategy": {
        "rollingUpdate": NotModelled(
            "one pod at a time is renewed",
            defaults=({"maxUnavailable": 1}, {"maxSurge": 0, "maxUnavailable": 1}),
        )
    },
}


def _tables() -> dict[str, dict[str, Treatment]]:
    found: dict[str, dict[str, Treatment]] = {}
    for struct, reasons in _PASSED_OVER.items():
        for names, why in reasons.items():
            found.setdefault(struct, {}).update(dict.fromkeys(names.split(), WithoutEffect(why)))
    for struct, fields in _NOT_MODELLED.items():
        found.setdefault(struct, {}).update(fields)
    return found


FIELDS: dict[str, dict[str, Treatment]] = _tables()
"""By struct and by the field's name in manifests."""
