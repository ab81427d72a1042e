{{- /* Parts of the schemas of InferenceServices and runtimes. What is acted on has its type, and
unknown fields are unknown: kubectl says so. What only goes on to pods is kept as it is. */ -}}

{{- define "inference-batcher.crd.kept" -}}
{ type: object, x-kubernetes-preserve-unknown-fields: true }
{{- end -}}

{{- define "inference-batcher.crd.keptList" -}}
{ type: array, items: { type: object, x-kubernetes-preserve-unknown-fields: true } }
{{- end -}}

{{- define "inference-batcher.crd.texts" -}}
{ type: object, additionalProperties: { type: string } }
{{- end -}}

{{- define "inference-batcher.crd.quantity" -}}
{ anyOf: [{ type: integer }, { type: string }], x-kubernetes-int-or-string: true }
{{- end -}}

{{- /* A DNS subdomain (RFC 1123), or nothing. */ -}}
{{- define "inference-batcher.crd.objectName" -}}
{ type: string, maxLength: 253, pattern: '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$' }
{{- end -}}

{{- define "inference-batcher.crd.resources" -}}
type: object
properties:
  claims: {{ include "inference-batcher.crd.keptList" . }}
  limits: { type: object, additionalProperties: {{ include "inference-batcher.crd.quantity" . }} }
  requests: { type: object, additionalProperties: {{ include "inference-batcher.crd.quantity" . }} }
{{- end -}}

{{- /* What of a container is read or changed. */ -}}
{{- define "inference-batcher.crd.containerParts" -}}
args: { type: array, items: { type: string } }
command: { type: array, items: { type: string } }
env:
  type: array
  items:
    type: object
    required: [name]
    properties:
      name: { type: string }
      value: { type: string }
      valueFrom: {{ include "inference-batcher.crd.kept" . }}
image: { type: string }
imagePullPolicy: { type: string }
lifecycle: {{ include "inference-batcher.crd.kept" . }}
livenessProbe: {{ include "inference-batcher.crd.kept" . }}
name: { type: string }
ports:
  type: array
  items:
    type: object
    required: [containerPort]
    properties:
      containerPort: { type: integer, format: int32, minimum: 1, maximum: 65535 }
      hostIP: { type: string }
      hostPort: { type: integer, format: int32 }
      name: { type: string }
      protocol: { type: string }
readinessProbe: {{ include "inference-batcher.crd.kept" . }}
resources:
  {{- include "inference-batcher.crd.resources" . | nindent 2 }}
securityContext: {{ include "inference-batcher.crd.kept" . }}
startupProbe: {{ include "inference-batcher.crd.kept" . }}
volumeMounts:
  type: array
  items: { type: object, required: [mountPath, name], properties: { mountPath: { type: string }, name: { type: string } }, x-kubernetes-preserve-unknown-fields: true }
{{- end -}}

{{- define "inference-batcher.crd.containers" -}}
type: array
items:
  type: object
  x-kubernetes-preserve-unknown-fields: true
  properties:
    {{- include "inference-batcher.crd.containerParts" . | nindent 4 }}
{{- end -}}

{{- /* Fields of a pod's spec, of Kubernetes 1.35. */ -}}
{{- define "inference-batcher.crd.pod" -}}
{{- range list "dnsPolicy" "hostname" "hostnameOverride" "nodeName" "preemptionPolicy" "priorityClassName" "restartPolicy" "runtimeClassName" "schedulerName" "subdomain" }}
{{ . }}: { type: string }
{{- end }}
{{- range list "serviceAccount" "serviceAccountName" }}
{{ . }}: {{ include "inference-batcher.crd.objectName" $ }}
{{- end }}
{{- range list "automountServiceAccountToken" "enableServiceLinks" "hostIPC" "hostNetwork" "hostPID" "hostUsers" "setHostnameAsFQDN" "shareProcessNamespace" }}
{{ . }}: { type: boolean }
{{- end }}
{{- range list "activeDeadlineSeconds" "terminationGracePeriodSeconds" }}
{{ . }}: { type: integer, format: int64 }
{{- end }}
priority: { type: integer, format: int32 }
nodeSelector: {{ include "inference-batcher.crd.texts" . }}
overhead: { type: object, additionalProperties: {{ include "inference-batcher.crd.quantity" . }} }
{{- range list "affinity" "dnsConfig" "os" "resources" "securityContext" }}
{{ . }}: {{ include "inference-batcher.crd.kept" $ }}
{{- end }}
{{- range list "ephemeralContainers" "hostAliases" "imagePullSecrets" "readinessGates" "resourceClaims" "schedulingGates" "tolerations" "topologySpreadConstraints" "volumes" }}
{{ . }}: {{ include "inference-batcher.crd.keptList" $ }}
{{- end }}
containers:
  {{- include "inference-batcher.crd.containers" . | nindent 2 }}
initContainers:
  {{- include "inference-batcher.crd.containers" . | nindent 2 }}
{{- end -}}

{{- /* A model, by its format or by the older spelling. */ -}}
{{- define "inference-batcher.crd.model" -}}
{{- include "inference-batcher.crd.containerParts" . }}
envFrom: {{ include "inference-batcher.crd.keptList" . }}
resizePolicy: {{ include "inference-batcher.crd.keptList" . }}
restartPolicy: { type: string }
restartPolicyRules: {{ include "inference-batcher.crd.keptList" . }}
stdin: { type: boolean }
stdinOnce: { type: boolean }
terminationMessagePath: { type: string }
terminationMessagePolicy: { type: string }
tty: { type: boolean }
volumeDevices: {{ include "inference-batcher.crd.keptList" . }}
workingDir: { type: string }
confidential: {{ include "inference-batcher.crd.kept" . }}
protocolVersion: { type: string }
runtimeVersion: { type: string }
storage: {{ include "inference-batcher.crd.kept" . }}
storageUri: { type: string }
{{- end -}}

{{- /* What predictors and transformers have in common. */ -}}
{{- define "inference-batcher.crd.component" -}}
annotations: {{ include "inference-batcher.crd.texts" . }}
autoScaling:
  type: object
  properties:
    behavior: {{ include "inference-batcher.crd.kept" . }}
    metrics:
      type: array
      items:
        type: object
        required: [type]
        properties:
          type: { type: string, enum: [Resource, External, PodMetric] }
          external: {{ include "inference-batcher.crd.kept" . }}
          podmetric: {{ include "inference-batcher.crd.kept" . }}
          resource:
            type: object
            required: [name, target]
            properties:
              name: { type: string, enum: [cpu, memory] }
              target:
                type: object
                properties:
                  averageUtilization: { type: integer, format: int32 }
                  averageValue: {{ include "inference-batcher.crd.quantity" . }}
                  type: { type: string, enum: [Utilization, Value, AverageValue] }
                  value: {{ include "inference-batcher.crd.quantity" . }}
batcher:
  type: object
  properties:
    maxBatchSize:
      description: Instances that make a batch leave; a trigger, not a cap.
      type: integer
      minimum: 1
      maximum: 1000000
    maxLatency:
      description: Milliseconds that a request may wait for others.
      type: integer
      minimum: 1
      maximum: 3600000
    timeout:
      description: Seconds that a batched request may take before it is answered 504.
      type: integer
      minimum: 1
      maximum: 86400
canaryTrafficPercent: { type: integer, format: int64 }
containerConcurrency: { type: integer, format: int64, minimum: 0 }
deploymentStrategy:
  type: object
  properties:
    rollingUpdate:
      type: object
      properties:
        maxSurge: {{ include "inference-batcher.crd.quantity" . }}
        maxUnavailable: {{ include "inference-batcher.crd.quantity" . }}
    type: { type: string }
labels: {{ include "inference-batcher.crd.texts" . }}
logger: {{ include "inference-batcher.crd.kept" . }}
maxReplicas: { type: integer, format: int32, minimum: 0 }
minReplicas: { type: integer, format: int32, minimum: 0 }
scaleMetric: { type: string, enum: [cpu, memory, concurrency, rps] }
scaleMetricType: { type: string, enum: [Utilization, Value, AverageValue] }
scaleTarget: { type: integer, format: int32 }
storageUris: {{ include "inference-batcher.crd.keptList" . }}
timeout: { type: integer, format: int64 }
{{ include "inference-batcher.crd.pod" . | trim }}
{{- end -}}

{{- define "inference-batcher.crd.runtime" -}}
type: object
required: [containers]
properties:
  annotations: {{ include "inference-batcher.crd.texts" . }}
  builtInAdapter: {{ include "inference-batcher.crd.kept" . }}
  containers:
    type: array
    minItems: 1
    items:
      type: object
      required: [name]
      x-kubernetes-preserve-unknown-fields: true
      properties:
        {{- include "inference-batcher.crd.containerParts" . | nindent 8 }}
  disabled: { type: boolean }
  grpcDataEndpoint: { type: string }
  grpcEndpoint: { type: string }
  hostIPC: { type: boolean }
  httpDataEndpoint: { type: string }
  labels: {{ include "inference-batcher.crd.texts" . }}
  multiModel: { type: boolean }
  nodeSelector: {{ include "inference-batcher.crd.texts" . }}
  protocolVersions: { type: array, items: { type: string } }
  replicas: { type: integer, minimum: 0 }
  schedulerName: { type: string }
  storageHelper: {{ include "inference-batcher.crd.kept" . }}
  supportedModelFormats:
    type: array
    items:
      type: object
      required: [name]
      properties:
        autoSelect: { type: boolean }
        name: { type: string }
        priority: { type: integer, format: int32, minimum: 1 }
        version: { type: string }
  workerSpec: {{ include "inference-batcher.crd.kept" . }}
  affinity: {{ include "inference-batcher.crd.kept" . }}
  {{- range list "imagePullSecrets" "resourceClaims" "tolerations" "volumes" }}
  {{ . }}: {{ include "inference-batcher.crd.keptList" $ }}
  {{- end }}
{{- end -}}

{{- /* metadata of a definition: root, name. */ -}}
{{- define "inference-batcher.crd.metadata" -}}
{{- include "inference-batcher.metadata" (dict "root" .root "component" "crds" "name" .name "cluster" true "annotations" (dict "helm.sh/resource-policy" "keep")) }}
{{- end -}}
