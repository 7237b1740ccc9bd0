with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'campaign_member', [
        'id',
        'campaign_id',
        'contact_id',
        'lead_id',
        'status',
        'has_responded',
        'first_responded_date',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

campaigns as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('salesforce', 'campaign', ['id', 'name', 'type'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        source.id as campaign_member_id,
        source.campaign_id,
        source.contact_id as salesforce_contact_id,
        source.lead_id as salesforce_lead_id,
        ---------- attributes
        campaigns.name as campaign_name,
        lower(campaigns.type) as campaign_kind,
        lower(source.status) as status,
        coalesce({{ true_or_false('source.has_responded') }}, false) as has_responded,
        ---------- timestamps
        {{ utc_timestamp('source.first_responded_date') }} as responded_at,
        {{ utc_timestamp('source.created_date') }} as created_at,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join campaigns
        on
            source.campaign_id = campaigns.id
            and campaigns.load_rank = 1
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
