{{- define "inference-batcher.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains "inference-batcher" .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-inference-batcher" .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "inference-batcher.operator" -}}{{ include "inference-batcher.fullname" . }}-operator{{- end -}}
{{- define "inference-batcher.webhook" -}}{{ include "inference-batcher.fullname" . }}-webhook{{- end -}}

{{- define "inference-batcher.runtimes" -}}{{ include "inference-batcher.fullname" . }}-runtimes{{- end -}}

{{- /* The webhook configurations' name, whatever the release is called: the API server calls
webhooks in the order of these names, and this one must follow KServe's. */ -}}
{{- define "inference-batcher.configuration" -}}inferenceservices.inference-batcher.io{{- end -}}

{{- /* The Secrets: the operator fills two of its own, cert-manager makes others. */ -}}
{{- define "inference-batcher.caSecret" -}}{{ include "inference-batcher.fullname" . }}-ca{{- end -}}
{{- define "inference-batcher.tlsSecret" -}}
{{- if .Values.certificates.certManager.enabled -}}
{{ include "inference-batcher.fullname" . }}-cert-manager-tls
{{- else -}}
{{ include "inference-batcher.fullname" . }}-webhook-tls
{{- end -}}
{{- end -}}

{{- define "inference-batcher.webhookPort" -}}
{{- int64 (default (ternary 10270 10250 .Values.webhook.hostNetwork) .Values.webhook.port) -}}
{{- end -}}
{{- define "inference-batcher.operatorPort" -}}9084{{- end -}}

{{- define "inference-batcher.selectorLabels" -}}
app.kubernetes.io/name: inference-batcher
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* Labels of an object: root, component, and labels of its own if any. What selectors and tools
rely on wins over what the values add. */ -}}
{{- define "inference-batcher.labels" -}}
{{- $ours := include "inference-batcher.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- merge $ours (default dict .labels) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- /* metadata of an object: root, name, component; cluster, labels and annotations if any. */ -}}
{{- define "inference-batcher.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "inference-batcher.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* metadata of a pod: root, component, values, port of its metrics; annotations if any. */ -}}
{{- define "inference-batcher.podMetadata" -}}
{{- $annotations := default dict .annotations -}}
{{- if eq .root.Values.metrics.scrape "annotations" -}}
{{- $annotations = merge (dict) $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" (toString .port)) -}}
{{- end -}}
labels:
  {{- merge (include "inference-batcher.selectorLabels" . | fromYaml) .values.podLabels .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) .values.podAnnotations $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where a pod may run: values. */ -}}
{{- define "inference-batcher.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "inference-batcher.podSecurity" -}}
runAsNonRoot: true
{{- if .Values.uid }}
runAsUser: {{ int64 .Values.uid }}
runAsGroup: {{ int64 .Values.uid }}
fsGroup: {{ int64 .Values.uid }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "inference-batcher.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* An image's full name: root, image. */ -}}
{{- define "inference-batcher.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.image.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}
{{- define "inference-batcher.controlImage" -}}
image: {{ include "inference-batcher.image" (dict "root" . "image" .Values.image.control) | quote }}
{{- with .Values.image.control.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}
{{- define "inference-batcher.sidecarImage" -}}
{{- include "inference-batcher.image" (dict "root" . "image" .Values.image.sidecar) -}}
{{- end -}}

{{- define "inference-batcher.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- range concat (list "kube-system" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq }}
      - {{ . | quote }}
      {{- end }}
{{- end -}}

{{- /* Where the API server finds the webhook: root, path. Never the CA bundle: who makes the
certificates writes that, and helm keeps what it never named. */ -}}
{{- define "inference-batcher.clientConfig" -}}
service:
  name: {{ include "inference-batcher.webhook" .root }}
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}

{{- /* Annotations of the webhook configurations. */ -}}
{{- define "inference-batcher.injectCa" -}}
{{- if .Values.certificates.certManager.enabled -}}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "inference-batcher.tlsSecret" . }}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{- /* Values that contradict each other, which the schema cannot tell. */ -}}
{{- define "inference-batcher.check" -}}
{{- $port := include "inference-batcher.webhookPort" . | int64 -}}
{{- if eq $port (int64 .Values.webhook.healthPort) -}}
{{- fail (printf "webhook.healthPort %d is also the webhook's port: give each its own" $port) -}}
{{- end -}}
{{- if and .Values.webhook.hostNetwork (eq $port 10250) -}}
{{- fail "webhook.port 10250 is the kubelet's on the host's network: leave it out, or give another" -}}
{{- end -}}
{{- with .Values.certificates -}}
{{- if gt (int64 .lifetimeSeconds) (int64 .caLifetimeSeconds) -}}
{{- fail (printf "certificates.lifetimeSeconds %d exceeds certificates.caLifetimeSeconds %d: lower it" (int64 .lifetimeSeconds) (int64 .caLifetimeSeconds)) -}}
{{- end -}}
{{- if gt (mul 3 (int64 .overlapSeconds)) (int64 .lifetimeSeconds) -}}
{{- fail (printf "certificates.overlapSeconds %d exceeds a third of certificates.lifetimeSeconds %d: lower it" (int64 .overlapSeconds) (int64 .lifetimeSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* How pods start that get no sidecar, for sentences. */ -}}
{{- define "inference-batcher.withoutSidecar" -}}
{{ if eq .Values.mode "kserve" }}with KServe's own agent{{ else }}without batching{{ end }}
{{- end -}}
