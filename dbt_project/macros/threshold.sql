{# The number that seeds/rules/thresholds.csv gives a rule. #}
{% macro threshold(rule) -%}
    (select thresholds.value from {{ ref('thresholds') }} as thresholds where thresholds.rule = '{{ rule }}')
{%- endmacro %}
