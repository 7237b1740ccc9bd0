{# The drivers of a score as one sentence, the score and its peers' first, every driver of half a point or more after it. #}
{% macro drivers_in_words(language, dimensions) -%}
    {%- set text = dbt.type_string() -%}
    case
        {%- if language == 'ja' %}
        when history.customer_id is null then '有効な契約がないため、スコアはありません。'
        when history.health_score is null then '情報が足りないため、スコアはありません。'
        else {{ dbt.concat([
            "'スコアは'", 'cast(history.health_score as ' ~ text ~ ')', "'点、同じような顧客は'",
            'cast(history.peer_score as ' ~ text ~ ')', "'点です'",
            parts_in_words(dimensions, "_name_ja"), "'。'"
        ]) }}
        {%- else %}
        when history.customer_id is null then 'No score: no subscription is live.'
        when history.health_score is null then 'No score: too little is known.'
        else {{ dbt.concat([
            "'Scores '", 'cast(history.health_score as ' ~ text ~ ')', "' where peers score '",
            'cast(history.peer_score as ' ~ text ~ ')',
            parts_in_words(dimensions, "_name_en"), "'.'"
        ]) }}
        {%- endif %}
    end
{%- endmacro %}

{% macro parts_in_words(dimensions, name) -%}
    {%- set text = dbt.type_string() -%}
    {%- set mark = '、' if name == '_name_ja' else ', ' -%}
    {%- set parts = [] -%}
    {%- for dimension in dimensions -%}
        {%- set part -%}
            case when abs(history.{{ dimension }}_driver) >= 0.5 then {{ dbt.concat([
                "'" ~ mark ~ "'", 'names.' ~ dimension ~ name, "case when history." ~ dimension ~ "_driver > 0 then ' +' else ' ' end",
                'cast(history.' ~ dimension ~ '_driver as ' ~ text ~ ')'
            ]) }} else '' end
        {%- endset -%}
        {%- do parts.append(part) -%}
    {%- endfor -%}
    {{ dbt.concat(["': '" if name == '_name_en' else "'：'", 'substr(' ~ dbt.concat(parts) ~ ', ' ~ (mark | length + 1) ~ ')']) }}
{%- endmacro %}
