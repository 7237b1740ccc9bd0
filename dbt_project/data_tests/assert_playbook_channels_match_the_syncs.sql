-- The channel that a playbook names is the channel that the trigger's sync goes through.
with

playbooks as (

    select * from {{ ref('playbooks') }}

),

syncs as (

    {% for trigger in var('triggers') %}
    {% set node = graph.nodes['model.customer_success.trg_' ~ trigger] if execute else {'config': {'meta': {'sync': {}}}} %}
    select
        '{{ trigger }}' as trigger_name,
        '{{ node.config.meta.sync.channel }}' as channel
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

final as (

    select
        syncs.trigger_name,
        syncs.channel as channel_of_sync,
        playbooks.channel as channel_of_playbook
    from syncs
    left join playbooks
        on syncs.trigger_name = playbooks.trigger_name
    where
        playbooks.channel is null
        or playbooks.channel <> syncs.channel

)

select * from final
