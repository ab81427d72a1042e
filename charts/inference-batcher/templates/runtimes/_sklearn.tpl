{{- define "inference-batcher.sklearnRuntime" -}}
{{- $labels := include "inference-batcher.labels" (dict "root" . "component" "runtimes") | fromYaml -}}
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterServingRuntime
metadata:
  name: {{ include "inference-batcher.sklearnRuntimeName" . }}
{{- with .Values.servingRuntimes.sklearn }}
{{- if .image }}
  labels:
    {{- omit $labels "app.kubernetes.io/managed-by" "helm.sh/chart" | toYaml | nindent 4 }}
  annotations:
    {{- merge (dict "serving.kserve.io/server-type" "sklearnserver") $.Values.commonAnnotations | toYaml | nindent 4 }}
spec:
  annotations:
    prometheus.kserve.io/port: "8080"
    prometheus.kserve.io/path: /metrics
  supportedModelFormats:
    - name: sklearn
      version: "1"
      autoSelect: true
      priority: 1
  protocolVersions: [v1, v2]
  containers:
    - name: kserve-container
      image: {{ .image | quote }}
      args:
        - --model_name={{ "{{.Name}}" }}
        - --model_dir=/mnt/models
        - --http_port=8080
      securityContext:
        allowPrivilegeEscalation: false
        privileged: false
        runAsNonRoot: true
        capabilities:
          drop: [ALL]
        seccompProfile:
          type: RuntimeDefault
      resources:
        {{- toYaml .resources | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "inference-batcher.sklearnRuntimeName" -}}kserve-sklearnserver{{- end -}}
