{#
    Rows with the piece of seeds/rules/content.csv that suits each best, as content_title and content_url: of its topic and
    language, and of the row's own feature, error, industry or stage where the library has such a piece, else a general
    one. Empty where there is none.

    told     CTE with event_id, language and the columns in `keys`
    keys     which of feature, error_code, industry and stage the piece may be particular about
#}
{% macro advised(told, topic, keys=[]) -%}
    (
        select
            told.*,
            ranked_content.title as content_title,
            ranked_content.url as content_url
        from {{ told }} as told
        left join (
            select
                told.event_id,
                content.title,
                content.url,
                row_number() over (
                    partition by told.event_id
                    order by
                        {% for key in keys -%}
                        case when content.{{ key }} is null then 0 else 1 end{{ ' desc' if loop.length == 1 else ' +' if not loop.last else ' desc' }}
                        {% endfor -%}
                        {{ ', ' if keys }}content.content_id
                ) as content_rank
            from {{ told }} as told
            inner join {{ ref('content') }} as content
                on
                    content.topic = '{{ topic }}'
                    and told.language = content.language
                    {%- for key in ['feature', 'error_code', 'industry', 'stage'] %}
                    {%- if key in keys %}
                    and (content.{{ key }} is null or content.{{ key }} = told.{{ key }})
                    {%- else %}
                    and content.{{ key }} is null
                    {%- endif %}
                    {%- endfor %}
        ) as ranked_content
            on
                told.event_id = ranked_content.event_id
                and ranked_content.content_rank = 1
    )
{%- endmacro %}
