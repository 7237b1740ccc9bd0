with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'email_campaign', ['id', 'name', 'subject', 'type'], optional=true) }}

),

final as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as email_campaign_id,
        ---------- attributes
        name as campaign_name,
        subject,
        -- what a workflow sends answers what somebody did; a batch is advertising or news
        coalesce(upper(type), 'BATCH_EMAIL') = 'BATCH_EMAIL' as is_commercial,
        ---------- timestamps
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

)

select * from final
